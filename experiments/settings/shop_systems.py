"""The shop systems whose exports are known, in a module of their own so that the command line loads no tables."""

from typing import Literal, get_args

ShopSystem = Literal["auto", "shopify", "woocommerce", "shopware", "magento", "jtl", "amazon"]
SHOP_SYSTEMS = get_args(ShopSystem)
