"""`step-audio2 serve`: checks first, says what it waits for, and ends with all that it started."""
