"""`terry try`: would personalisation help a shop, what does privacy cost there, and what would shoppers see?"""
