"""Jenkins pipelines as typed models, rendered to a Jenkinsfile and a config.xml; knows nothing of the shuttle."""
