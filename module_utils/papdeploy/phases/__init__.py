"""The phases of a deploy, one file each: what the Ansible modules call. They read and write the journal."""
