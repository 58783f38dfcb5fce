"""Everything of ftk that a person sees in a terminal. Imports no torch when it starts."""
