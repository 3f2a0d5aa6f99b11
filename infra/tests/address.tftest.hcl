# An address that Cloud Run did not give: the apply ends there, instead of pushing to where nobody is.

mock_provider "google" {
  source = "./tests/mocks"

  mock_resource "google_cloud_run_v2_service" {
    defaults = { urls = ["https://commercetools-segment-abcdefghij-ew.a.run.app"] }
  }
}

run "an_address_that_cloud_run_did_not_give_is_refused" {
  expect_failures = [google_cloud_run_v2_service.service]
}
