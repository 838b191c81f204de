"""What a notebook shows, and what `oatlib explore` opens."""
