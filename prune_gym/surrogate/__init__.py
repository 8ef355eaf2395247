"""A fitted stand-in for the real environment's accuracy, to start training on.

Names are imported from its modules, so that records can be read without the rest.
"""
