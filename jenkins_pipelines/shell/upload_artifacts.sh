
begin_stage artifacts 'Uploading the artifacts' 95
upload_dist
