"""A harvest: a batch of studies from a node, by a table or by days, asked for politely and gone on with."""
