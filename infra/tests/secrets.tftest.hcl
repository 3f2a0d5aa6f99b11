# No secret is written down: the service is told where each one is kept.
mock_provider "google" {
  source = "./tests/mocks"
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
