"""What the page says."""


def greet(name):
    return f"Hello from the {name}"
