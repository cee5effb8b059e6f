"""A bench of looks: paint many pairs with sets of options, measure the pictures, and show them to eyes.

__main__   the command
measures   what is measured of a picture
painting   paint pairs with sets of options, in processes of one thread
sheets     contact sheets, and sheets of two sets in a hidden order
"""
