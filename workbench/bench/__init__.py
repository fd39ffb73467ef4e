"""The parts of a bench, each about one thing; `workbench.session` makes the bench of them."""
