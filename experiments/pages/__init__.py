"""What all pages share: the skeleton, the stylesheet, tables and charts. A page needs no network."""
