"""What a user meets first: a missing extra, a command line made from dataclasses, and errors in one sentence.

Files in import order:

deprecation      former names of attributes and keywords, with a warning
extras           optional dependencies of the rooms
ranges           ranges of numeric options
command_options  options of a configuration: name, type, range, choices, default, description
local_paths      paths against addresses of object stores
values           words of a command line to values
spelling         names of options in other spellings
parsing          arguments to a configuration
help_text        the text of --help
memory_check     sizes whose arrays cannot fit the memory
scalars          whole numbers, numbers and random keys of a call
flags            sentences about a result, each with a weight
refusals         errors of users against errors of the program, and exit codes
"""

from pid.interface.flags import Flag as Flag
