"""A private value as text, which no error, log or file name may tell."""

SECRETS = ("Marguerite", "Chenille")  # words: a number would come up in a clock's digits by chance
SECRET = "shopper {} bought towel {}".format(*SECRETS)
