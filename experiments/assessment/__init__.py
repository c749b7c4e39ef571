"""`terry try`: would personalisation help a shop, and what does privacy cost there?"""
