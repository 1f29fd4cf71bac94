#!/bin/sh
# Prepares an installation: bucket, block documents, work pool, deployments, automations. May be run again at any time.
# Needs PREFECT_API_URL, GENVIDEO_BUCKET and what the blocks of $GENVIDEO_ENVIRONMENT ask for; run from the folder that
# holds deployments/.
set -eu
environment=${GENVIDEO_ENVIRONMENT:-production}
pool=${GENVIDEO_WORK_POOL:-genvideo}
ready=$(mktemp -d)
trap 'rm -rf "$ready"' EXIT

genvideo init "$ready" --env "$environment" --pool "$pool"

if [ "$environment" = simulator ]; then
  python - "$ready/calendar.yaml" <<'PYTHON'
import os
import sys

import boto3

s3 = boto3.client(
    "s3",
    endpoint_url=os.environ["GENVIDEO_S3_ENDPOINT_URL"],
    aws_access_key_id=os.environ["GENVIDEO_S3_ACCESS_KEY_ID"],
    aws_secret_access_key=os.environ["GENVIDEO_S3_SECRET_ACCESS_KEY"],
    region_name="us-east-1",
)
bucket = os.environ["GENVIDEO_BUCKET"]
if bucket not in [known["Name"] for known in s3.list_buckets()["Buckets"]]:
    s3.create_bucket(Bucket=bucket)
if not s3.list_objects_v2(Bucket=bucket, Prefix="calendar.yaml").get("KeyCount"):
    s3.upload_file(sys.argv[1], bucket, "calendar.yaml")
PYTHON
fi

genvideo deploy "$ready"

if ! prefect automation inspect "Flow runs of lost machines" >/dev/null 2>&1; then
  prefect automation create --from-file deployments/automations.yaml
fi
