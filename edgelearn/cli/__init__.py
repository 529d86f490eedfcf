"""The command line: `edgelearn VERB`, one verb a file in `edgelearn.cli.verbs`."""
