"""The loss of an image and its gradient, evaluated with onnxruntime: whole, in tiles, or block by block.

engine, evaluation, memory_costs, session, whole_graphs; losses (terms and statistics), tiling (tiles and
blocks)
"""
