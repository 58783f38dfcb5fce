"""The screens of the app, one a step of the wizard, and the list of runs."""
