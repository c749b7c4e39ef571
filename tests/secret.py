"""A private value as text, which must appear in no error, log or file name."""

SECRETS = ("Marguerite", "Chenille")  # words, because a clock may show a number's digits by chance
SECRET = "shopper {} bought towel {}".format(*SECRETS)
