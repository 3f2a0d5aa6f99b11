# An address that Cloud Run did not give: the apply ends there, instead of pushing to where nobody is.

mock_provider "google" {
  mock_data "google_project" {
    defaults = { number = "123456789012" }
  }
  mock_resource "google_cloud_run_v2_service" {
    defaults = { urls = ["https://commercetools-segment-abcdefghij-ew.a.run.app"] }
  }
}

variables {
  project         = "shop"
  region          = "europe-west1"
  segment_region  = "eu"
  segment_user_id = "id"
  alert_emails    = []
  commercetools   = null
}

run "an_address_that_cloud_run_did_not_give_is_refused" {
  expect_failures = [google_cloud_run_v2_service.service]
}
