"""What each list of the dashboard shows in which columns; nothing here knows of Textual, so plain text has it too."""
