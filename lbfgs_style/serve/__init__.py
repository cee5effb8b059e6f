"""A page on this machine, and the same as an HTTP API: `lbfgs-style serve`.

- jobs: the queue, the thread that paints, and what is kept of finished jobs.
- requests: a form of images and options → a job's inputs and options.
- app, events: the routes, and the stream of what happens to a job.
- guard: who may ask: token, Host, Origin, sizes, and the headers of every answer.
- api_description: the OpenAPI document and the page that shows it.
- server: the application run by uvicorn.
- page: HTML, CSS and JavaScript, all of it in the package.
"""
