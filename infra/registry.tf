# The registry of the images.
resource "google_artifact_registry_repository" "images" {
  repository_id = "commercetools-segment"
  description   = "Images of commercetools-segment, built by cloudbuild.yaml"
  location      = coalesce(var.registry_region, var.region)
  format        = "DOCKER"
  depends_on    = [google_project_service.api]

  # Enough for a roll-back; more images would only cost storage.
  cleanup_policies {
    id     = "keep-the-last-20"
    action = "KEEP"
    most_recent_versions {
      keep_count = 20
    }
  }
  cleanup_policies {
    id     = "delete-older-than-30-days"
    action = "DELETE"
    condition {
      older_than = "2592000s"
    }
  }
}

locals {
  images = join("/", [
    "${google_artifact_registry_repository.images.location}-docker.pkg.dev",
    var.project, google_artifact_registry_repository.images.repository_id,
  ])

  # The image a new service starts with: cloudbuild.yaml's, or that of infra/mapping/cloudbuild.yaml, which holds the
  # mapping file. Both give this tag to each image they push, and deploy by digest.
  first_image = "${local.images}/${var.mapping_file == "" ? "service" : "shop"}:latest"
}
