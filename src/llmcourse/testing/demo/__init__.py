"""The demo: a Hub of this machine with real models on it (`hub`), and the whole job (`__main__`)."""
