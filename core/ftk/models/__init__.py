"""Models: find the weights, fetch them, load them, put an adapter on them."""
