"""Images that do not fit into memory: exact tiles, and blocks that are optimised one at a time.

block_graph, blocks, stages, tile_graphs, tile_plan, tile_runner
"""
