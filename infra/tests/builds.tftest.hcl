# Who may do what in Cloud Build: what tests a commit, or builds it, cannot deploy and reads no secret.
mock_provider "google" {
  source = "./tests/mocks"
}

run "only_the_deploying_account_deploys_and_acts_as_the_run_account" {
  assert {
    condition     = google_cloud_run_v2_service_iam_member.deploy_deploys.member == "serviceAccount:deploy@shop.iam.gserviceaccount.com"
    error_message = "another than the deploying account changes the service"
  }
  assert {
    condition = [
      google_service_account_iam_member.deploy_acts_as_run.member, google_service_account_iam_member.deploy_acts_as_run.service_account_id,
    ] == ["serviceAccount:deploy@shop.iam.gserviceaccount.com", google_service_account.run.name]
    error_message = "another than the deploying account acts as the run account, or it acts as another"
  }
}

run "tests_can_only_write_logs_and_read_their_source" {
  assert {
    condition     = { for name, grant in google_artifact_registry_repository_iam_member.pushes : name => grant.member } == { build = "serviceAccount:build@shop.iam.gserviceaccount.com", deploy = "serviceAccount:deploy@shop.iam.gserviceaccount.com" }
    error_message = "tests can replace an image"
  }
  assert {
    condition     = { for name, grant in google_project_iam_member.build_logs : name => grant.role } == { test = "roles/logging.logWriter", build = "roles/logging.logWriter", deploy = "roles/logging.logWriter" }
    error_message = "a build has no log"
  }
  assert {
    condition     = toset(keys(google_project_iam_member.build_reads_source)) == toset(["test", "build"])
    error_message = "a build lacks its source, or the deploying account has one"
  }
}

run "only_the_run_account_reads_secrets" {
  assert {
    condition     = toset(values(google_secret_manager_secret_iam_member.run_reads)[*].member) == toset(["serviceAccount:run@shop.iam.gserviceaccount.com"])
    error_message = "a build reads a secret"
  }
}
