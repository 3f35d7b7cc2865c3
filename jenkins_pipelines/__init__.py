"""Jenkins pipelines as typed models, rendered to a Jenkinsfile and a config.xml; independent of the shuttle."""
