"""What a vector store gives away: to whom, how it was measured, and what was not tested."""
