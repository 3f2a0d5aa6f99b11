# No secret is written down: the service is told where each one is kept.
mock_provider "google" {
  mock_data "google_project" {
    defaults = { number = "123456789012" }
  }
  mock_resource "google_cloud_run_v2_service" {
    defaults = {
      urls = [
        "https://commercetools-segment-abcdefghij-ew.a.run.app",
        "https://commercetools-segment-123456789012.europe-west1.run.app",
      ]
    }
  }
  mock_resource "google_service_account" {
    defaults = {
      email  = "an-account@shop.iam.gserviceaccount.com"
      member = "serviceAccount:an-account@shop.iam.gserviceaccount.com"
    }
  }
  override_resource {
    target = google_service_account.push
    values = {
      email  = "push@shop.iam.gserviceaccount.com"
      member = "serviceAccount:push@shop.iam.gserviceaccount.com"
    }
  }
}

variables {
  project         = "shop"
  region          = "europe-west1"
  segment_region  = "eu"
  segment_user_id = "id"
  alert_emails    = ["shop@example.com"]
  commercetools = {
    project_key = "shop"
    client_id   = "client"
    region      = "europe-west1.gcp"
  }
}

run "every_secret_is_a_reference_and_pinned" {
  variables {
    erasure         = "every"
    secret_versions = { SEGMENT_WRITE_KEY = 2 }
  }

  assert {
    condition = toset([
      for e in google_cloud_run_v2_service.service.template[0].containers[0].env : e.name if length(e.value_source) > 0
    ]) == toset(["SEGMENT_WRITE_KEY", "CTP_CLIENT_SECRET", "SEGMENT_PUBLIC_API_TOKEN"])
    error_message = "a secret is no reference to Secret Manager"
  }
  assert {
    condition = alltrue([
      for e in google_cloud_run_v2_service.service.template[0].containers[0].env : e.value == null
      if contains(["SEGMENT_WRITE_KEY", "CTP_CLIENT_SECRET", "SEGMENT_PUBLIC_API_TOKEN"], e.name)
    ])
    error_message = "a secret's value is in an attribute"
  }
  assert {
    condition = {
      for e in google_cloud_run_v2_service.service.template[0].containers[0].env : e.name => e.value_source[0].secret_key_ref[0].version if length(e.value_source) > 0
    } == { SEGMENT_WRITE_KEY = "2", CTP_CLIENT_SECRET = "1", SEGMENT_PUBLIC_API_TOKEN = "1" }
    error_message = "a version is not the one that was asked for"
  }
  assert {
    condition     = toset(values(google_secret_manager_secret_iam_member.run_reads)[*].member) == toset([google_service_account.run.member])
    error_message = "another than the run account may read a secret"
  }
}

run "without_an_api_client_and_erasure_there_is_one_secret" {
  variables {
    commercetools = null
  }

  assert {
    condition     = keys(google_secret_manager_secret.secret) == ["SEGMENT_WRITE_KEY"]
    error_message = "there is a secret that nobody needs"
  }
  assert {
    condition     = length([for e in google_cloud_run_v2_service.service.template[0].containers[0].env : e if startswith(e.name, "CTP_")]) == 0
    error_message = "the CTP_ settings go together, all or none"
  }
}
