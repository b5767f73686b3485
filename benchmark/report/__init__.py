"""What is made of the figures: a page, a JSON file, and whether the goals are met."""
