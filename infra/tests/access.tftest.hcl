# Who gets in: the subscription's account, and nobody else.
mock_provider "google" {
  source = "./tests/mocks"
}

run "by_default_only_the_push_account_gets_in" {
  assert {
    condition     = google_cloud_run_v2_service.service.invoker_iam_disabled == false
    error_message = "anybody can call the service"
  }
  assert {
    condition     = google_cloud_run_v2_service_iam_member.push_invokes.member == "serviceAccount:push@shop.iam.gserviceaccount.com" && google_cloud_run_v2_service_iam_member.push_invokes.role == "roles/run.invoker"
    error_message = "another than the push account may call the service"
  }
  assert {
    condition     = google_cloud_run_v2_service.service.ingress == "INGRESS_TRAFFIC_INTERNAL_ONLY"
    error_message = "the service can be reached from outside"
  }
  assert {
    condition     = one([for e in google_cloud_run_v2_service.service.template[0].containers[0].env : e.value if e.name == "PUSH_AUTH"]) == "iam"
    error_message = "the service would look for a signature that Cloud Run has removed"
  }
}

run "with_oidc_the_address_is_public_and_the_service_checks" {
  variables {
    push_auth = "oidc"
  }

  assert {
    condition     = google_cloud_run_v2_service.service.invoker_iam_disabled == true
    error_message = "Cloud Run would remove the signature that the service is to check"
  }
  assert {
    condition     = one([for e in google_cloud_run_v2_service.service.template[0].containers[0].env : e.value if e.name == "PUSH_AUTH"]) == "oidc"
    error_message = "the address is public and the service does not check"
  }
  assert {
    condition     = !contains(["allUsers", "allAuthenticatedUsers"], google_cloud_run_v2_service_iam_member.push_invokes.member)
    error_message = "everybody has the invoker's role"
  }
}

run "nobody_may_choose_to_check_nothing" {
  command = plan

  variables {
    push_auth = "none"
  }

  expect_failures = [var.push_auth]
}

run "a_field_that_commercetools_does_not_have_is_no_user_id" {
  command = plan

  variables {
    segment_user_id = "phone"
  }

  expect_failures = [var.segment_user_id]
}
