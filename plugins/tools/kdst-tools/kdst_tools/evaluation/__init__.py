"""What tool use is measured by: problems and their protocol, intervals, perplexity, the filter."""
