"""How we speak to strangers: the addresses we connect to, the credentials in their URLs, the CAs that we trust."""
