"""The names of shop systems, in a module of their own so that the command line loads no layouts."""

from typing import Literal, get_args

ShopSystem = Literal["auto", "shopify", "woocommerce", "shopware", "magento", "jtl", "amazon"]
SHOP_SYSTEMS = get_args(ShopSystem)
