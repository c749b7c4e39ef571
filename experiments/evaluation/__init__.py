"""What trains and what tests, and how accuracy is measured."""
