"""Steps applied to many arrays, and the record of it."""
