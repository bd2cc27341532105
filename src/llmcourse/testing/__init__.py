"""Stand-ins of outside services that the tests and the demo run against."""
