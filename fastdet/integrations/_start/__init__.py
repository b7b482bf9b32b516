"""What the launcher puts on PYTHONPATH: `sitecustomize`, which Python runs when it starts."""
