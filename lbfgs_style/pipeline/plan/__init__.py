"""What a run will do, decided before it does it.

- scales: sizes and iterations, coarse to fine.
- rounds: the iterations of a scale between two searches for neighbours.
- memory: whole, in tiles, or block by block within a memory budget.
- run_plan: both together, for the images of a run.
- schedule: the forecast of time and memory.
"""
