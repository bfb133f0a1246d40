"""A pipeline as a workflow of GitHub Actions.

The flow, and the modules that serve each stage::

    stages       steps -> the jobs that they make, split where a person is asked (pure)
    expressions  conditions and commands, in the languages of GitHub and of bash (pure)
    logins       the steps that log in to a cloud, and the rights of a job (pure)
    pins         the actions, each at a commit, in one table (pure)
    workflow     all of it put together (pure)
    emit         values -> YAML with comments (pure)
    places       what people wrote in marked places is kept when the file is written again (pure)
    secrets      which secrets each step needs (pure)
    files        reads and writes the file in its repository

``..access`` says what each step needs; nothing of it ever stands in a script.
"""
