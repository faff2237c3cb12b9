"""The project's own tests, a little slow so that their output can be seen to arrive."""

import time
import unittest

from greeting import greet


class Greeting(unittest.TestCase):
    def setUp(self):
        time.sleep(0.4)

    def test_it_names_who_is_greeted(self):
        self.assertIn("sandbox", greet("sandbox"))

    def test_it_is_polite(self):
        self.assertTrue(greet("sandbox").startswith("Hello"))

    def test_it_is_short(self):
        self.assertLess(len(greet("sandbox")), 80)


if __name__ == "__main__":
    unittest.main(verbosity=2)
