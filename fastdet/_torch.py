"""Registrations with torch.library; imported when a tensor arrives whose call goes through torch's dispatcher."""
