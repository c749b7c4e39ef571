"""An on-device federated recommender that says exactly what its privacy promise costs.

The rooms beside this file are links to the folders at the top of the project.
"""
