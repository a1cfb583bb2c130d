"""Loads the program before gunicorn says that it is ready, and starts the numbered lines in each of its processes."""

preload_app = True
workers = 2
# As long as the longest answer.
graceful_timeout = 20


def post_worker_init(worker):
    import wsgi

    wsgi.begin()
