"""A visitor of a site, and the live build's files."""

from tidegate import jobs, projects, sites
from tidegate.settings import settings


def visit(host: str, request: sites.Request) -> sites.Response:
    """Answer a visitor of a project's site with the live build's files."""
    slug = sites.slug_of(host, settings().sites_url)
    project = projects.get(slug) if slug else None
    if project is None:
        return sites.not_here("There is no site at this address")
    if project.live_build is None:
        return sites.not_here(f"{project.slug} has no live build yet")
    return sites.serve(f"{jobs.prefix(project.slug, project.live_build, project.live_attempt)}files/", request)
