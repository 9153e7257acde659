"""What to bind: which tags are traits of the subject, by a table of rules that users can extend."""
