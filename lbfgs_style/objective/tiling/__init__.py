"""Images that do not fit into memory as a whole: exact tiles, and blocks that are optimised one at a time.

block_graph    the graph of a block: the loss of the whole image, the gradient of the block
blocks         an image of which one block at a time is variable
sessions       the sessions of tiles and blocks
stages         a network divided at its poolings, for a block of an image
tile_graphs    the graphs of tiles
tile_plan      divide an image into tiles and their windows
tile_runner    targets, loss and gradient of an image, tile by tile
"""
