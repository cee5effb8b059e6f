"""What is made of a result: recipes, reports, recordings, contact sheets, inspections.

contact_sheet, html_report, input_files, inspection, loss_curves, recipes, recording,
rerun, run_inputs
"""
