"""What is made from a result: recipes, reports, videos, sheets.

- recipes, rerun: options and inputs kept inside the image file, and the run repeated from them.
- video_recipes: options and inputs of a video, in a file next to it.
- run_inputs, input_files: the inputs of a run, and their fingerprints.
- batch_jobs, batch_workers, batch_summary: the pictures of a batch, the processes that paint them, and the
  table and the sheet of all.
- batch_cluster, cluster_tasks: the same on other machines, and what their workers do.
- html_report, loss_curves, command_text: a page with images, curves, timings and the command of the run.
- recording: frames and videos.
- inspection, contact_sheet: reconstructions and grids on labelled sheets.
"""
