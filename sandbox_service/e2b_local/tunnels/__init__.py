"""Tunnels to somewhere: what asks for one, what is said to that, and the bytes both ways.

Those who come in by the one port and those who go out of a sandbox use the same.
"""
